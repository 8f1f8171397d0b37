"""Where models look on a slide: attention by patch, as numbers, for QuPath, and as pictures.

geometry.py says where patches lie, look.py what models attend to; files.py, pictures.py and slide_image.py show it.
"""
