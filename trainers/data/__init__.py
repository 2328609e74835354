"""From JSONL files to token ids with labels, and a card that says what was in them."""
