"""What borrowing would bring a target: what is expected, what to do, and what it has been worth."""
