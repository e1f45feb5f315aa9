"""Many pictures: batches, sweeps and their sheets, and a folder of jobs."""
