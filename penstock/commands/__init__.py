"""The commands of ``penstock``, one module each: they parse options, call the packages below, and print.

No logic that another part needs may live here.
"""
