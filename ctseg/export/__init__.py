"""Trained segmenters in the formats of other programs: ONNX, OpenVINO and MONAI bundles."""
