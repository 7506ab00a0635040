"""Fine-tuning on PaddleNLP's Trainer: arguments, trainer subclass, callbacks."""
