"""What a model costs: counted, modelled and measured."""
