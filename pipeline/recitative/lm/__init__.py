"""Language models: n-gram models, recurrent models and grammars."""
