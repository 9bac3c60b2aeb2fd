"""`from tunesmith.integration.wandb import WandbLoggerCallback, setup_wandb, wandb_mixin`."""

from tunesmith.trackers import WandbLoggerCallback, setup_wandb, wandb_mixin

__all__ = ["WandbLoggerCallback", "setup_wandb", "wandb_mixin"]
