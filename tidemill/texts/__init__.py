"""Text from compiled language models: the loop over their two functions, and words to token ids."""
