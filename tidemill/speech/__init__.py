"""Whisper without a framework: a clip to log-mel features, tokens to text. numpy only."""
