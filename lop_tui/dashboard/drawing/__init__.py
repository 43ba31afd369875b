"""Charts and heat maps as coloured text. Nothing here knows Textual, and `plots` alone knows plotext."""
