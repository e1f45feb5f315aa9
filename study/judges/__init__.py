"""What is asked of each exercise: a generator of checks for each, under the exercise's name."""
