"""Running an exported model with numpy and ONNX Runtime; torch is never imported here."""
