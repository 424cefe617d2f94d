"""Files to records and back: streaming, bounded in memory, resumable."""
