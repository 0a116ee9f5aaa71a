"""Released diffusion components put together: a prompt to a picture, without the framework.

Needs numpy and, to run programs, IREE's runtime. Importing it loads neither torch nor IREE.
"""
