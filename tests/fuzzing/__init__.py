"""The targets of the fuzzer, over the inputs that are kept, without a fuzzer."""
