"""Export a model to an ONNX graph, rewrite the graph, quantize it, and compare its outputs with the model's."""
