"""One module per kind of chart: records to a Vega-Lite specification with its data, and the same in words."""
