"""The documentation: parts of pages made from the code, links checked, files of the repository shown in the site."""
