"""What runs attempts: in this process, in processes of their own, or on a virtual clock."""
