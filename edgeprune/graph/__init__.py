"""ONNX graphs: exported, quantized."""
