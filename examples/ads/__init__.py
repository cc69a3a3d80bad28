"""Ads: a simulated ad server, its impressions, clicks and conversions, and the pipelines that learn from them."""
