"""Classical rejection and exact simulation: independent draws whose law is the target's, not nearly but exactly."""
