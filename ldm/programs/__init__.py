"""What the commands do: `ldm.programs.NAME.main` is behind a script of that purpose and behind an installed command."""
