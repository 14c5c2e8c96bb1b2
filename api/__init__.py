"""The thin HTTP side: queries of the read models, the live feed and the page."""
