"""The JSON files that stand beside weights: config.json, preprocessor_config.json, open_clip_config.json."""

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
BILINEAR, BICUBIC = 2, 3  # as Pillow counts them


def clip_config(model, sparse=False):
    """config.json of a CLIPModel; sparse leaves out what stands at the hub's defaults (those of ViT-B/32)."""
    v, t = model.vision, model.text
    side = lambda s: {"hidden_act": s.act, "hidden_size": s.width, "intermediate_size": s.width * s.mlp_ratio,
                      "layer_norm_eps": s.eps, "num_attention_heads": s.heads, "num_hidden_layers": s.layers}
    vision = {**side(v), "image_size": v.size, "model_type": "clip_vision_model", "patch_size": v.patch,
              "projection_dim": model.dim}
    text = {**side(t), "bos_token_id": 0 if t.eos == 2 else t.vocab - 2, "eos_token_id": t.eos,
            "max_position_embeddings": t.tokens, "model_type": "clip_text_model", "pad_token_id": 1,
            "projection_dim": model.dim, "vocab_size": t.vocab}
    if sparse:
        vision, text = {"dropout": 0.0, "model_type": "clip_vision_model"}, {"model_type": "clip_text_model"}
    return {"architectures": ["CLIPModel"], "initializer_factor": 1.0, "logit_scale_init_value": 2.6592,
            "model_type": "clip", "projection_dim": model.dim, "text_config": text, "torch_dtype": "float32",
            "transformers_version": "4.38.0", "vision_config": vision}


def siglip_config(model, sparse=False):
    """config.json of a SiglipModel; sparse is how the original B/16 is published: two names, all else by default."""
    v, t = model.vision, model.text
    vision, text = {"model_type": "siglip_vision_model"}, {"model_type": "siglip_text_model"}
    if not sparse:
        for s, c in ((v, vision), (t, text)):
            c.update(hidden_act=s.act, hidden_size=s.width, intermediate_size=s.width * s.mlp_ratio,
                     layer_norm_eps=s.eps, num_attention_heads=s.heads, num_hidden_layers=s.layers)
        vision.update(image_size=v.size, patch_size=v.patch, num_channels=3)
        text.update(max_position_embeddings=t.tokens, vocab_size=t.vocab, bos_token_id=49406, eos_token_id=49407,
                    pad_token_id=1, projection_size=model.dim)
    return {"architectures": ["SiglipModel"], "initializer_factor": 1.0, "model_type": "siglip",
            "text_config": text, "torch_dtype": "float32", "transformers_version": "4.37.0.dev0",
            "vision_config": vision}


def open_clip_config(model):
    v, t = model.vision, model.text
    cfg = {
        "embed_dim": model.dim,
        "vision_cfg": {"image_size": v.size, "layers": v.layers, "width": v.width, "patch_size": v.patch},
        "text_cfg": {"context_length": t.tokens, "vocab_size": t.vocab, "width": t.width, "heads": t.heads,
                     "layers": t.layers},
    }
    if v.width // v.heads != 64:
        cfg["vision_cfg"]["head_width"] = v.width // v.heads
    if v.act == "quick_gelu":
        cfg["quick_gelu"] = True
    return {"model_cfg": cfg, "preprocess_cfg": {"mean": CLIP_MEAN, "std": CLIP_STD, "interpolation": "bicubic",
                                                 "resize_mode": "shortest"}}


def clip_preprocessor(size, legacy=False, mean=None, std=None, resample=BICUBIC, shortest=None):
    """preprocessor_config.json; legacy has plain numbers for the sizes, as the first CLIPs were published."""
    return {
        "crop_size": size if legacy else {"height": size, "width": size}, "do_center_crop": True,
        **({} if legacy else {"do_convert_rgb": True}), "do_normalize": True,
        **({} if legacy else {"do_rescale": True}), "do_resize": True,
        **({"feature_extractor_type": "CLIPFeatureExtractor"} if legacy else {"image_processor_type": "CLIPImageProcessor"}),
        "image_mean": mean or CLIP_MEAN, "image_std": std or CLIP_STD, "resample": resample,
        **({} if legacy else {"rescale_factor": 1 / 255}),
        "size": (shortest or size) if legacy else {"shortest_edge": shortest or size},
    }


def siglip_preprocessor(size):
    return {"do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3,
            "image_processor_type": "SiglipImageProcessor", "image_std": [0.5] * 3, "processor_class": "SiglipProcessor",
            "resample": BICUBIC, "rescale_factor": 1 / 255, "size": {"height": size, "width": size}}


def of(model, sparse=False):
    """config.json of any family; trunks that the hub's CLIPModel does not know are told by their open_clip names."""
    if model.family == "siglip":
        return siglip_config(model, sparse)
    return clip_config(model, sparse)


def preprocessor(model, legacy=False):
    if model.family == "siglip":
        return siglip_preprocessor(model.vision.size)
    if model.family == "mobileclip":
        return clip_preprocessor(model.vision.size, mean=[0.0] * 3, std=[1.0] * 3, resample=BILINEAR)
    return clip_preprocessor(model.vision.size, legacy)
