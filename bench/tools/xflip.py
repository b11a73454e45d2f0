"""Time from a mouse press injected by XTEST to changed pixels on the X screen that shows flip.html, in ms, as a JSON list.

The share of input-to-photon that belongs to the remote browser and the X server alone, whatever streams the picture.
Usage: xflip.py CLICKS, with DISPLAY and XAUTHORITY set.
"""
import ctypes
import json
import random
import sys
import time

x11 = ctypes.CDLL("libX11.so.6")
xtst = ctypes.CDLL("libXtst.so.6")
x11.XOpenDisplay.restype = ctypes.c_void_p
x11.XDefaultRootWindow.restype = ctypes.c_ulong
x11.XDefaultRootWindow.argtypes = [ctypes.c_void_p]
x11.XGetImage.restype = ctypes.c_void_p
x11.XGetImage.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_ulong, ctypes.c_int]
x11.XGetPixel.restype = ctypes.c_ulong
x11.XGetPixel.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
x11.XDestroyImage.argtypes = [ctypes.c_void_p]
x11.XFlush.argtypes = [ctypes.c_void_p]
xtst.XTestFakeButtonEvent.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_ulong]
xtst.XTestFakeMotionEvent.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ulong]

ALL_PLANES, Z_PIXMAP = 0xFFFFFFFF, 2
display = x11.XOpenDisplay(None)
if not display:
    sys.exit("xflip.py: cannot open the display")
root = x11.XDefaultRootWindow(display)


def red():
    image = x11.XGetImage(display, root, 320, 360, 1, 1, ALL_PLANES, Z_PIXMAP)
    value = x11.XGetPixel(image, 0, 0) >> 16 & 255
    x11.XDestroyImage(image)
    return value


xtst.XTestFakeMotionEvent(display, -1, 760, 430, 0)
times = []
for _ in range(int(sys.argv[1])):
    before = red()
    start = time.perf_counter()
    xtst.XTestFakeButtonEvent(display, 1, 1, 0)
    x11.XFlush(display)
    while abs(red() - before) < 90 and time.perf_counter() - start < 3:
        time.sleep(0.0002)
    elapsed = time.perf_counter() - start
    xtst.XTestFakeButtonEvent(display, 1, 0, 0)
    x11.XFlush(display)
    if elapsed < 3:
        times.append(elapsed * 1000)
    time.sleep(0.15 + random.random() * 0.12)
print(json.dumps(times))
