"""Subsampling, blocks and the one encoder that every variant is a choice on."""
