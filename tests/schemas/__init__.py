"""Tests of contracts, their Avro form, the codec, compatibility and the producer."""
