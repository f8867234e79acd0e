"""What each page shows, as frozen values: pure functions of what the stores said, the words and the time."""
