"""The nouns: frozen values that check themselves when they are built."""
