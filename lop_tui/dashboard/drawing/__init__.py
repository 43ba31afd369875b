"""Charts and heat maps as coloured text. Nothing here uses Textual, and only `plots` uses plotext."""
