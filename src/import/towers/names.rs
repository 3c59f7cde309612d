//! Where each part of a tower lies among the weights.
//!
//! Parts are called as `CLIPModel` of transformers calls them below its towers, projections
//! as `projection`; the other namings are told here in those words.

/// Which tower a part belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tower {
    Image,
    Text,
}

/// Whose names the tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// transformers' `CLIPModel`.
    Clip,
    /// transformers' `SiglipModel`.
    Siglip,
    /// open_clip's, with what stands before the names of its text tower.
    OpenClip { text: &'static str },
}

/// How a part lies in its tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    /// It is the tensor, outputs × inputs where it is a matrix.
    Whole,
    /// It is one of three equal blocks of rows: query, key and value.
    Third(usize),
    /// It is a matrix of inputs × outputs.
    Turned,
}

const PROJECTIONS: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

impl Naming {
    /// The tensor of `part` and how the part lies in it.
    pub(super) fn place(self, tower: Tower, part: &str) -> (String, Lies) {
        match self {
            Self::Clip => (clip(tower, part), Lies::Whole),
            Self::Siglip => siglip(tower, part),
            Self::OpenClip { text } => {
                let prefix = match tower {
                    Tower::Image => "visual.",
                    Tower::Text => text,
                };
                let (name, lies) = open_clip(tower, part);
                (format!("{prefix}{name}"), lies)
            }
        }
    }
}

fn clip(tower: Tower, part: &str) -> String {
    match (tower, part) {
        (Tower::Image, "projection.weight") => "visual_projection.weight".into(),
        (Tower::Text, "projection.weight") => "text_projection.weight".into(),
        (Tower::Image, _) => format!("vision_model.{part}"),
        (Tower::Text, _) => format!("text_model.{part}"),
    }
}

fn siglip(tower: Tower, part: &str) -> (String, Lies) {
    if let (Tower::Text, Some(leaf)) = (tower, part.strip_prefix("projection.")) {
        return (format!("text_model.head.{leaf}"), Lies::Whole);
    }
    let of_head = part.strip_prefix("head.attention.");
    match of_head.and_then(third) {
        Some((leaf, n)) => {
            let name = format!("vision_model.head.attention.in_proj_{leaf}");
            (name, Lies::Third(n))
        }
        None => (clip(tower, part), Lies::Whole),
    }
}

/// `k_proj.bias` is block 1 of the packed `bias`.
fn third(part: &str) -> Option<(&str, usize)> {
    let (projection, leaf) = part.split_once('.')?;
    let n = PROJECTIONS.iter().position(|p| *p == projection)?;
    Some((leaf, n))
}

fn open_clip(tower: Tower, part: &str) -> (String, Lies) {
    if let Some((n, inner)) = part
        .strip_prefix("encoder.layers.")
        .and_then(|rest| rest.split_once('.'))
    {
        let (name, lies) = open_clip_block(inner);
        return (format!("transformer.resblocks.{n}.{name}"), lies);
    }
    let whole = |name: String| (name, Lies::Whole);
    match (tower, part) {
        (Tower::Image, "projection.weight") => ("proj".into(), Lies::Turned),
        (Tower::Text, "projection.weight") => ("text_projection".into(), Lies::Turned),
        (_, "embeddings.patch_embedding.weight") => whole("conv1.weight".into()),
        (_, "embeddings.class_embedding") => whole("class_embedding".into()),
        (_, "embeddings.position_embedding.weight") => whole("positional_embedding".into()),
        (_, "embeddings.token_embedding.weight") => whole("token_embedding.weight".into()),
        _ => {
            let (layer, leaf) = part.split_once('.').unwrap_or((part, ""));
            whole(match layer {
                "pre_layrnorm" => format!("ln_pre.{leaf}"),
                "post_layernorm" => format!("ln_post.{leaf}"),
                "final_layer_norm" => format!("ln_final.{leaf}"),
                _ => part.to_owned(),
            })
        }
    }
}

fn open_clip_block(part: &str) -> (String, Lies) {
    let (layer, leaf) = part.rsplit_once('.').unwrap_or((part, ""));
    if let Some((leaf, n)) = part.strip_prefix("self_attn.").and_then(third) {
        return (format!("attn.in_proj_{leaf}"), Lies::Third(n));
    }
    let layer = match layer {
        "layer_norm1" => "ln_1",
        "layer_norm2" => "ln_2",
        "self_attn.out_proj" => "attn.out_proj",
        "mlp.fc1" => "mlp.c_fc",
        "mlp.fc2" => "mlp.c_proj",
        other => other,
    };
    (format!("{layer}.{leaf}"), Lies::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_has_a_name_in_every_naming() {
        let open = Naming::OpenClip { text: "text." };
        let part = "encoder.layers.3.self_attn.k_proj.bias";
        let name = "vision_model.encoder.layers.3.self_attn.k_proj.bias";
        assert_eq!(
            Naming::Clip.place(Tower::Image, part),
            (name.into(), Lies::Whole)
        );
        assert_eq!(
            open.place(Tower::Text, part),
            (
                "text.transformer.resblocks.3.attn.in_proj_bias".into(),
                Lies::Third(1)
            )
        );
        assert_eq!(
            Naming::Siglip.place(Tower::Image, "head.attention.v_proj.weight"),
            (
                "vision_model.head.attention.in_proj_weight".into(),
                Lies::Third(2)
            )
        );
        assert_eq!(
            open.place(Tower::Image, "projection.weight"),
            ("visual.proj".into(), Lies::Turned)
        );
    }
}
