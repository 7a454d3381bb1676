"""The record of use: file format, writer and reader of what was provided to whom."""
