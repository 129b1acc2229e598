#!/usr/bin/env python3
"""Writes a GGUF file anew with its matrices in another element type, for measuring speed: what was lost stays lost.
usage: requantise.py IN OUT Q4_1|Q8_0|BF16|F32        needs the Python packages gguf and numpy"""
import sys

import gguf

if len(sys.argv) != 4:
    sys.exit(__doc__)
source, target, wanted = sys.argv[1:]
kind = gguf.GGMLQuantizationType[wanted]
reader = gguf.GGUFReader(source)
writer = gguf.GGUFWriter(target, bytes(reader.fields["general.architecture"].parts[-1]).decode())
for name, field in reader.fields.items():
    if name.startswith("GGUF.") or name == "general.architecture":
        continue
    value_type = field.types[0]
    inner = field.types[-1] if value_type == gguf.GGUFValueType.ARRAY else None
    writer.add_key_value(name, field.contents(), value_type, sub_type=inner)
for tensor in reader.tensors:
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    to = kind if len(tensor.shape) == 2 else gguf.GGMLQuantizationType.F32
    writer.add_tensor(tensor.name, gguf.quants.quantize(values, to), raw_dtype=to)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
