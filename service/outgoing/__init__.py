"""HTTP to addresses that somebody else has named: which are refused, how they are called and signed."""
