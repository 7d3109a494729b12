"""Has what OMS accepted arrived? Both sides are looked at, and what is missing is announced again."""
