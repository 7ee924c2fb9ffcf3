"""Prints the numbers of vectors.rs that no RFC has, without any code of this crate.

HPKE is written out from RFC 9180, CBOR and the COSE structures by hand; AES, X25519, Ed25519 and Argon2id come from
the Python package `cryptography`. The lines A1 repeat RFC 9180 A.1.1 to show that the script itself is right.
"""
import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
H=lambda k,m: hmac.new(k,m,hashlib.sha256).digest()
def extract(s,i): return H(s or bytes(32),i)
def expand(p,info,L):
    o=b'';t=b'';n=1
    while len(o)<L:
        t=H(p,t+info+bytes([n])); o+=t; n+=1
    return o[:L]
def lext(suite,salt,label,ikm): return extract(salt,b'HPKE-v1'+suite+label+ikm)
def lexp(suite,prk,label,info,L): return expand(prk,L.to_bytes(2,'big')+b'HPKE-v1'+suite+label+info,L)
K=b'KEM'+(32).to_bytes(2,'big')
def suite(aead): return b'HPKE'+(32).to_bytes(2,'big')+(1).to_bytes(2,'big')+aead.to_bytes(2,'big')
def derive(ikm): return lexp(K,lext(K,b'',b'dkp_prk',ikm),b'sk',b'',32)
def pub(sk): return X25519PrivateKey.from_private_bytes(sk).public_key().public_bytes(Encoding.Raw,PublicFormat.Raw)
def dh(sk,pk): return X25519PrivateKey.from_private_bytes(sk).exchange(X25519PublicKey.from_public_bytes(pk))
def setup(skE,pkR,info,aead,skS=None):
    enc=pub(skE); d=dh(skE,pkR); ctx=enc+pkR
    if skS: d+=dh(skS,pkR); ctx+=pub(skS)
    prk=lext(K,b'',b'eae_prk',d); ss=lexp(K,prk,b'shared_secret',ctx,32)
    S=suite(aead); mode=b'\2' if skS else b'\0'
    ksc=mode+lext(S,b'',b'psk_id_hash',b'')+lext(S,b'',b'info_hash',info)
    sec=lext(S,ss,b'secret',b'')
    key=lexp(S,sec,b'key',ksc,16 if aead==1 else 32); nonce=lexp(S,sec,b'base_nonce',ksc,12); ex=lexp(S,sec,b'exp',ksc,32)
    return enc,key,nonce,lambda c: lexp(S,ex,b'sec',c,32)
ikmE=bytes.fromhex('7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234')
ikmR=bytes.fromhex('6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037')
info=bytes.fromhex('4f6465206f6e2061204772656369616e2055726e')
pt=bytes.fromhex('4265617574792069732074727574682c20747275746820626561757479'); aad=bytes.fromhex('436f756e742d30')
skE=derive(ikmE); skR=derive(ikmR)
print('skR',skR.hex(),'pkR',pub(skR).hex(),'pkE',pub(skE).hex())
enc,key,nonce,exp=setup(skE,pub(skR),info,1)
print('A1 ct',AESGCM(key).encrypt(nonce,pt,aad).hex()); print('A1 exp',exp(b'').hex())
ikmS=bytes(range(32)); skS=derive(ikmS)
for name,s in (('base',None),('auth',skS)):
    enc,key,nonce,exp=setup(skE,pub(skR),info,2,s)
    padded=pt+b'\x80'; padded+=bytes(512-len(padded))
    ct=AESGCM(key).encrypt(nonce,padded,aad)
    print(name,'enc',enc.hex(),'sha256(ct)',hashlib.sha256(ct).hexdigest(),'tag',ct[-16:].hex(),'ct[:29]',ct[:29].hex(),'exp',exp(b'TestContext').hex())
print('pkS',pub(skS).hex())
# key file
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
salt=bytes(range(16)); nonce=bytes(range(16,28)); second=bytes([7])*32
def txt(s): return bytes([0x60+len(s)])+s
def u(n):
    if n<24: return bytes([n])
    if n<256: return bytes([0x18,n])
    return b'\x19'+n.to_bytes(2,'big')
def bs(b): return (bytes([0x40+len(b)]) if len(b)<24 else b'\x58'+bytes([len(b)]))+b
for sec in (None,second):
    fields=txt(b'florin-key-file')+u(1)+u(64)+u(2)+u(1)+(b'\xf5' if sec else b'\xf4')+bs(salt)+bs(nonce)
    aad=b'\x88'+fields
    k=Argon2id(salt=salt,length=32,iterations=2,lanes=1,memory_cost=64).derive(b'correct horse')
    prk=extract(b'',k+(sec or b'')); key=expand(prk,b'florin-key-file/v1',32)
    ct=AESGCMSIV(key).encrypt(nonce,b'content',aad)
    print('keyfile',(b'\x89'+fields+bs(ct)).hex())
# reply
key=bytes([1])*32
p=b'reply\x80'+bytes(512-6)
print('reply sha', hashlib.sha256(AESGCMSIV(key).encrypt(bytes(12),p,b'aad')).hexdigest())
# digest, mac
arr=b'\x83'+txt(b'florin/v1/test')+bs(b'one')+bs(b'')
print('digest',hashlib.sha256(arr).hexdigest(),'mac',H(bytes([9])*32,arr).hex())
# cose
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
kid=bytes(range(16)); prot=b'\xa2\x01\x27\x04\x50'+kid
sk=Ed25519PrivateKey.from_private_bytes(bytes([3])*32); payload=b'payload'
sig=sk.sign(b'\x84'+txt(b'Signature1')+bs(prot)+b'\x40'+bs(payload))
print('sign1',(b'\x84'+bs(prot)+b'\xa0'+bs(payload)+bs(sig)).hex())
prot=b'\xa2\x01\x05\x04\x50'+kid
tag=H(bytes([9])*32,b'\x84'+txt(b'MAC0')+bs(prot)+b'\x40'+bs(payload))
print('mac0',(b'\x84'+bs(prot)+b'\xa0'+bs(payload)+bs(tag)).hex())
