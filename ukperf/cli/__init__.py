"""One module per command: parse, call, print, exit status. No logic here."""
