"""Simple pictures of coloured shapes with exact captions, and a judge that tells whether a picture shows what was asked for."""
