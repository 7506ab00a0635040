"""What a user edits: where the weights are and which sizes to use. Standard library only; read by inference and training."""

WEIGHTS_PATH = "models"  # folder of the official release or of its conversion (scripts/convert_*.py)

model_c_version = "1B"  # prior: "1B" (stage_c_lite) or "3.6B" (stage_c)
model_b_version = "700M"  # decoder: "700M" (stage_b_lite) or "3B" (stage_b)
dtype = "float32"  # weights of prior and decoder; on a GPU also "float16" or "bfloat16"

# CLIP models, folders in Hugging Face format inside WEIGHTS_PATH
text_encoder_name = "text_encoder"
image_encoder_name = "image_encoder"
tokenizer_name = "tokenizer"
