#!/usr/bin/env python
"""Write what a generation needs in the released sizes, filled by rule: prior 1B and decoder 700M in bfloat16, Stage A, the
text tower and a tokenizer; 6.6 GB. Its images are noise.

python benchmarks/full_release.py --output build/full_release [--prior 3.6B]
"""

import argparse
from pathlib import Path

from ldm.common.runtime import prepare

BIG_G = dict(width=1280, projection_dim=1280, layers=32, heads=20)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/full_release"))
    parser.add_argument("--prior", default="1B", choices=("1B", "3.6B"))
    parser.add_argument("--only_prior", action="store_true", help="for loading.py and converting")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of prior and decoder")
    args = parser.parse_args()
    prepare()
    from ldm.demo.rule_clip import write_text_encoder, write_tokenizer
    from ldm.demo.rule_release import write_rule_network
    from ldm.networks.variants import variant_config
    from ldm.weights.release import FILES

    def write(kind, version, dtype):
        path = args.output / f"{FILES[kind, version]}.safetensors"
        if not path.exists():
            config = {} if version is None else variant_config(kind, version)
            write_rule_network(path, kind, config, dtype=dtype)
        print(f"{path}: {path.stat().st_size / 1e9:.2f} GB", flush=True)

    write("stage_c", args.prior, args.dtype)
    if not args.only_prior:
        write("stage_b", "700M", args.dtype)
        write("stage_a", None, "float32")
        text = args.output / "text_encoder"
        if not (text / "model.safetensors").exists():
            write_text_encoder(text, **BIG_G)
        write_tokenizer(args.output / "tokenizer")


if __name__ == "__main__":
    main()
