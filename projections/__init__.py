"""Events → read models: pure folds, the Faust projector, the stores, rebuild and verify."""
