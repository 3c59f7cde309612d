"""Writes the models that are compared: usage: models.py FOLDER PROGRAM BUNDLE MODEL...

PROGRAM is edgeclip, BUNDLE the starter, with the ONNX file that it was made of beside it. For each MODEL,
FOLDER/MODEL holds the same weights as

  f32.onnx      floats
  dyn-s8.onnx   int8 weights a channel, activations rounded as they come (onnxruntime)
  dyn-u8.onnx   the same with uint8 weights
  qdq.onnx      int8 weights a channel, activations by calibration (onnxruntime)
  qdq7.onnx     the same with weights of 7 bits, whose products do not overflow where VNNI is missing
  shipped.onnx  the starter alone: the file that the bundle was made of
  ours.ecmodel  what edgeclip runs

and facts.json. What exists is kept, but for ours where the program is newer.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from onnx import TensorProto
from onnxruntime import quantization

import pictures
import starter
import vit

CALIBRATION_SEED = 100
FLOATS = {"DefaultTensorType": TensorProto.FLOAT}
# The starter's head keeps float activations: its softmax does not bear rounding.
STATIC = {"starter": ["Conv", "Add", "Clip", "GlobalAveragePool"]}


class Calibration(quantization.CalibrationDataReader):
    def __init__(self, model):
        rgb = pictures.pictures(8, CALIBRATION_SEED, pictures.SIDES[model])
        self.inputs = iter(pictures.tensors(model, rgb))

    def get_next(self):
        tensor = next(self.inputs, None)
        return None if tensor is None else {"pixel_values": tensor[None]}


def dynamic(folder, form, weight):
    quantization.quantize_dynamic(folder / "f32.onnx", folder / f"{form}.onnx", per_channel=True, weight_type=weight, extra_options=FLOATS)


def static(folder, form, seven_bits):
    model = folder.name
    quantization.quantize_static(
        folder / "f32.onnx", folder / f"{form}.onnx", Calibration(model), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        op_types_to_quantize=STATIC.get(model, ["Conv", "MatMul"]), activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8, reduce_range=seven_bits, extra_options=FLOATS,
    )


def ours(folder, program, bundle):
    """What edgeclip runs, made by the program as it is now."""
    target = folder / "ours.ecmodel"
    if folder.name == "starter":
        shutil.copyfile(bundle, target)
    elif older(target, program):
        command = [program, "model", "import", folder / "f32.onnx", "--quantize", "int8", "-o", target]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def older(path, than):
    return not path.exists() or path.stat().st_mtime < Path(than).stat().st_mtime


def write(folder, bundle):
    model = folder.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if model == "starter":
        shutil.copyfile(bundle.with_suffix(".onnx"), folder / "shipped.onnx")
        starter.to_float(folder / "shipped.onnx", folder / "f32.onnx")
        macs = starter.macs(folder / "f32.onnx")
    else:
        vit.write(model, folder / "f32.onnx")
        macs = vit.VITS[model].macs()
    dynamic(folder, "dyn-s8", quantization.QuantType.QInt8)
    dynamic(folder, "dyn-u8", quantization.QuantType.QUInt8)
    static(folder, "qdq", False)
    static(folder, "qdq7", True)
    pictures.write(folder)
    (folder / "facts.json").write_text(json.dumps({"macs": macs}))


def main():
    out, program, bundle, *models = sys.argv[1:]
    bundle = Path(bundle)
    for model in models:
        folder = Path(out) / model
        # Last to be written: without it the folder is not whole.
        facts = folder / "facts.json"
        if not facts.exists() or (model == "starter" and older(facts, bundle)):
            print(f"writing {model}", file=sys.stderr)
            write(folder, bundle)
        ours(folder, program, bundle)


if __name__ == "__main__":
    main()
