"""The same weights by open_clip's names."""
import numpy as np

LAYER = [  # ours, theirs
    ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("self_attn.out_proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
]


def _blocks(w, ours, theirs, layers):
    out = {}
    for i in range(layers):
        a, b = f"{ours}.encoder.layers.{i}", f"{theirs}resblocks.{i}"
        for kind, name in (("weight", "in_proj_weight"), ("bias", "in_proj_bias")):
            out[f"{b}.attn.{name}"] = np.concatenate([w[f"{a}.self_attn.{x}_proj.{kind}"] for x in "qkv"])
        for x, y in LAYER:
            for kind in ("weight", "bias"):
                out[f"{b}.{y}.{kind}"] = w[f"{a}.{x}.{kind}"]
    return out


def open_clip_text(w, model, prefix=""):
    """The text tower; prefix is "text." where open_clip keeps it as a module of its own."""
    out = {
        f"{prefix}positional_embedding": w["text_model.embeddings.position_embedding.weight"],
        f"{prefix}text_projection": w["text_projection.weight"].T,
        "logit_scale": w["logit_scale"],
        f"{prefix}token_embedding.weight": w["text_model.embeddings.token_embedding.weight"],
        **_blocks(w, "text_model", f"{prefix}transformer.", model.text.layers),
    }
    for kind in ("weight", "bias"):
        out[f"{prefix}ln_final.{kind}"] = w[f"text_model.final_layer_norm.{kind}"]
    return out


def open_clip(w, model, prefix=""):
    """A ViT CLIP as open_clip_model.safetensors has it; projections are [width, dim] there."""
    v = "vision_model"
    out = {
        "visual.class_embedding": w[f"{v}.embeddings.class_embedding"],
        "visual.positional_embedding": w[f"{v}.embeddings.position_embedding.weight"],
        "visual.proj": w["visual_projection.weight"].T,
        "visual.conv1.weight": w[f"{v}.embeddings.patch_embedding.weight"],
        **_blocks(w, v, "visual.transformer.", model.vision.layers),
    }
    for kind in ("weight", "bias"):
        out[f"visual.ln_pre.{kind}"] = w[f"{v}.pre_layrnorm.{kind}"]
        out[f"visual.ln_post.{kind}"] = w[f"{v}.post_layernorm.{kind}"]
    out.update(open_clip_text(w, model, prefix))
    return {n: np.ascontiguousarray(a) for n, a in out.items()}
