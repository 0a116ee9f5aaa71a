"""Pictures as arrays of numbers: how alike they are, and their files. numpy only."""
