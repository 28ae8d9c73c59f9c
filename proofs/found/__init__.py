"""Every correctness fault that was found since the first release, and the test that finds it today."""
