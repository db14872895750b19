"""One file per corpus layout: `detects(folder)` and `read(folder)` yielding utterances."""
