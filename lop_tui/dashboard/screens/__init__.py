"""What the screens of views have in common, and the screens that are no views."""
