"""The steps: what each stage is (``table``), and the working halves that child processes import."""
