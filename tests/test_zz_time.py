import time, pytest
def test_t(compose, build):
    t=time.process_time()
    for _ in range(5): compose("model/net=edsr","scale=3")
    print("compose", (time.process_time()-t)/5)
    t=time.process_time()
    from sr import catalog
    for _ in range(5): catalog.node("edsr",3,3)
    print("node", (time.process_time()-t)/5)
