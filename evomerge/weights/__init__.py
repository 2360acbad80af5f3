"""Where models come from, what is in them, and how merged ones are written."""
